"""From what the file asks for and what the runtimes show, to actions: `plan` decides, `loop` is the single writer."""
