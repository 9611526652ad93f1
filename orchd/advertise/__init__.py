"""From ready models to what gateways can find: offers, prices, and the registries that are told of them."""
