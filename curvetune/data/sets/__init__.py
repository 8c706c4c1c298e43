"""Sets that training passes over: on the device, or streamed; they yield the same batches."""
