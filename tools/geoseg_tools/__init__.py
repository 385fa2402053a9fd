"""The local tools: geometry, keypoints, fusion and the segmenters. Synchronous, numpy in and out."""
