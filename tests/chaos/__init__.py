"""What happens to the product where anything goes wrong?"""
