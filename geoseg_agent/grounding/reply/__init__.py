"""From a reply to targets: find the answer, bring it into its one shape, check it, name the rules it breaks."""
