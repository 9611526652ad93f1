"""What an ETH costs in USD, for all who convert prices. Off where nobody does, or the settings name no rate."""
