"""Networks: plain nn.Modules from `input_shape` and `num_classes` to logits."""
