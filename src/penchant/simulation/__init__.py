"""Floor 4: policies compared on simulated users whose answers follow models fitted on real ones."""
