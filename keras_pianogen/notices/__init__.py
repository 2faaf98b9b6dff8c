"""What users are told beside an error, and what libraries are kept from saying.

Importing this room loads no Keras: commands give hints before there is one.
"""
