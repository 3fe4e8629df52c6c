"""Commands on run sets: `nanoeval.bin` runs them, with arguments read by `command_line`."""
