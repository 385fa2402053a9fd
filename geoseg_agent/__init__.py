"""Ask an aerial or satellite image a question, get a mask."""
