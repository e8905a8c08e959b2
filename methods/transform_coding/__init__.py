"""The project's own family: the documents' eigenbasis, bits by reverse water-filling, strong codes."""
