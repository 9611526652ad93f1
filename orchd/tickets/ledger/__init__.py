"""What payers have paid and what it was used up for, so that no crash loses or doubles any of it."""
