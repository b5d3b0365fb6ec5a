"""How long a test waits for what is not about time.

Long: a wait ends as soon as what it waits for is there, so that patience costs nothing, and on a
machine that others use, too, everything may take twenty times as long. What a test promises about
time it says itself.
"""

PATIENCE_S = 120
