"""Files of terms with weights: what they hold, by format."""
