"""The strategies of each backend; `keras_deit.training.strategies` chooses among them."""
