"""The plugin's services, by what they are about: each module is a base class of the plugin with its handlers."""
