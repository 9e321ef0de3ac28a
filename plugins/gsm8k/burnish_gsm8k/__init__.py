"""Grade-school word problems with worked answers: the GSM8K form."""
