"""The nodes of a cluster: what they are asked before they get trials, and what room they have."""
