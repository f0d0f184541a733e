"""The data sets of the papers, read from the folders in which they are handed around; nothing is downloaded."""
