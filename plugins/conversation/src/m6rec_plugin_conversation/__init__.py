"""The pip distribution m6rec-plugin-conversation: replies in a dialogue about films, and which film to recommend."""
