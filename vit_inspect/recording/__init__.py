"""Recording a forward pass: the inputs of every softmax, gradients, and interventions."""
