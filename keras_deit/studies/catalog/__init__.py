"""The studies of this package, each of which mirrors a published table."""

from keras_deit.studies.catalog import (  # noqa: F401  (registers the studies)
    distilling,
    embeddings,
    models,
    recipes,
    sizes,
    training,
)
