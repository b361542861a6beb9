"""m6rec: recommendation tasks as plugins over one frozen language model, after "M6-Rec" (Cui et al., 2022)."""

__version__ = "0.1.0"
