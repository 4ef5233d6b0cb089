"""Ray: started or joined, its tasks mapped with progress. Nothing here knows of data, encoders or methods."""
