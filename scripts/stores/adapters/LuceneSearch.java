import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.lucene.codecs.KnnVectorsFormat;
import org.apache.lucene.codecs.lucene99.Lucene99Codec;
import org.apache.lucene.codecs.lucene99.Lucene99HnswScalarQuantizedVectorsFormat;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.KnnFloatVectorField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.VectorSimilarityFunction;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.KnnFloatVectorQuery;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.Version;

/** java LuceneSearch.java DOCS QUERIES DIM K INDEX: rows of float32 in, one line of document numbers a query out. */
public class LuceneSearch {
    static float[][] read(String file, int dim) throws Exception {
        FloatBuffer all = ByteBuffer.wrap(Files.readAllBytes(Path.of(file))).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[][] rows = new float[all.remaining() / dim][dim];
        for (float[] row : rows) all.get(row);
        return rows;
    }

    public static void main(String[] args) throws Exception {
        int dim = Integer.parseInt(args[2]), k = Integer.parseInt(args[3]);
        float[][] docs = read(args[0], dim), queries = read(args[1], dim);
        IndexWriterConfig config = new IndexWriterConfig().setUseCompoundFile(false).setRAMBufferSizeMB(4096);
        config.getMergePolicy().setNoCFSRatio(0);
        config.setCodec(new Lucene99Codec() {
            @Override
            public KnnVectorsFormat getKnnVectorsFormatForField(String field) {
                return new Lucene99HnswScalarQuantizedVectorsFormat();
            }
        });
        System.out.println(Version.LATEST);
        try (FSDirectory directory = FSDirectory.open(Path.of(args[4]))) {
            try (IndexWriter writer = new IndexWriter(directory, config)) {
                for (float[] row : docs) {
                    Document document = new Document();
                    document.add(new KnnFloatVectorField("v", row, VectorSimilarityFunction.DOT_PRODUCT));
                    writer.addDocument(document);
                }
            }
            try (DirectoryReader reader = DirectoryReader.open(directory)) {
                IndexSearcher searcher = new IndexSearcher(reader);
                for (float[] query : queries) {
                    // as many neighbours as documents: the graph is walked to its end
                    StringBuilder line = new StringBuilder();
                    ScoreDoc[] found = searcher.search(new KnnFloatVectorQuery("v", query, docs.length), k).scoreDocs;
                    for (ScoreDoc one : found) line.append(one.doc).append(' ');
                    System.out.println(line);
                }
            }
        }
    }
}
