//! Who may join and who is issued what.
