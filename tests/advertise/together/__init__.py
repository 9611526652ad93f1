"""What all registries of today do side by side. These tests go, or change, with each of them."""
