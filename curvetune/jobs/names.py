"""What a job is called by: the keys of what the cluster keeps about it, and its variables."""

GRID = "curvetune_grid"
DIGEST = "curvetune_digest"  # of what decides its numbers, and where they are kept
ATTEMPT = "curvetune_attempt"  # from 1
COMMAND = "curvetune_command"  # that sent it, without secrets
STORAGE = "curvetune_storage"
CODE = "curvetune_code"  # digest of the sources that decide numbers

SUBMITTED = "CURVETUNE_SUBMITTED"  # variable: the command that sent the job, for the grid's record
