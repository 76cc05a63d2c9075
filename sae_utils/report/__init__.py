"""Numbers to what one reads: figures, and verdicts on the papers' claims."""
