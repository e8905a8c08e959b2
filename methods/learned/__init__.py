"""Methods that are trained by gradient descent on vectors that stay as they are.

torch is imported by `fit` alone: what `fit` leaves are NumPy arrays, and encoding and searching need nothing else.
"""
