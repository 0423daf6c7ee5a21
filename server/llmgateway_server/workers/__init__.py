"""One gateway of several processes: a parent that serves no call, and workers that share its address."""
