"""Floor 5: the workspace: settings, registry, jobs and the one facade over all lower floors."""
