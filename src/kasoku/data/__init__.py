"""LightningDataModules whose order is a function of (seed, epoch), so that a run resumes at the exact next batch."""
