"""The services under measurement: started for a block, asked, and stopped with it."""
