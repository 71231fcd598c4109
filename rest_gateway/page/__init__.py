"""The page at `/`: draw a digit, ask every upstream, race them, open the lab's reports. Plain files, no build step."""
