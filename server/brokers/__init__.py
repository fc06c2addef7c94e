"""What carries publications between publishers and hubs, and gives them their positions."""
