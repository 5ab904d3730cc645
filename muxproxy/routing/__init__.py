"""Which model a text needs: features, a classifier, judges of answers. No I/O on the road."""
