"""A calibration report for people: as text, as figures, and as one page of HTML."""
