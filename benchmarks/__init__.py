"""One script per question; results/ holds what was measured, with the machine's name."""
