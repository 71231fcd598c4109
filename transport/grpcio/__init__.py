"""What goes below grpcio's public interface, each use behind a check of the release it was tested with."""
