"""What is asked: its fields, judged once."""
