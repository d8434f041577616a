"""Models and ways to separate lesions, compared on the user's own labelled cases."""
