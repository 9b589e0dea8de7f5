"""What is done to one asset, free of tables, folders of records and worker pools."""
