"""What a worker does: takes jobs from the queue, one at a time, and carries them out in folders of their own."""
