"""What several methods have in common, and what would make a method's own file too long."""
