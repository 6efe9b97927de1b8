"""ONNX graphs: from torch, from elsewhere, brought to this house's contract, cleaned."""
