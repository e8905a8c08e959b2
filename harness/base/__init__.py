"""What every other room stands on: errors, checked options, files, memory-mapped arrays, numbers in words."""
