"""Many images, one or several questions: answered once each, whatever interrupts it."""
