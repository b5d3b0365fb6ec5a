"""A load rehearsal: a shadow of a sale, buyers over real HTTP, and a verdict with its evidence."""
