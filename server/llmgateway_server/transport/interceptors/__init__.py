"""The call ring: glue of a few lines around the policies of `admission`."""
