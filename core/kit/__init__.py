"""What every domain stands on. No shop words in here."""
