"""Write the README's method table anew: python scripts/write_method_table.py."""

from pathlib import Path

from harness.catalogue import markdown_methods

BEGIN, END = "<!-- methods: begin -->\n", "<!-- methods: end -->"


def main() -> None:
    readme = Path(__file__).resolve().parents[1] / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    readme.write_text(before + BEGIN + markdown_methods() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
