"""The published lists short enough to be written down: contractions, gendered words, first names, fillers."""

# NL-Augmenter's list (Dhole et al. 2021), in its order: where two contractions share an expansion, the later counts.
CONTRACTIONS = {
    "ain't": "is not", "aren't": "are not", "can't": "cannot", "can't've": "cannot have", "could've": "could have",
    "couldn't": "could not", "didn't": "did not", "doesn't": "does not", "don't": "do not", "hadn't": "had not",
    "hasn't": "has not", "haven't": "have not", "he'd": "he would", "he'd've": "he would have", "he'll": "he will",
    "he's": "he is", "how'd": "how did", "how'd'y": "how do you", "how'll": "how will", "how's": "how is",
    "I'd": "I would", "I'll": "I will", "I'm": "I am", "I've": "I have", "i'd": "i would", "i'll": "i will",
    "i'm": "i am", "i've": "i have", "isn't": "is not", "it'd": "it would", "it'll": "it will", "it's": "it is",
    "ma'am": "madam", "might've": "might have", "mightn't": "might not", "must've": "must have",
    "mustn't": "must not", "needn't": "need not", "oughtn't": "ought not", "shan't": "shall not",
    "she'd": "she would", "she'll": "she will", "she's": "she is", "should've": "should have",
    "shouldn't": "should not", "that'd": "that would", "that's": "that is", "there'd": "there would",
    "there's": "there is", "they'd": "they would", "they'll": "they will", "they're": "they are",
    "they've": "they have", "wasn't": "was not", "we'd": "we would", "we'll": "we will", "we're": "we are",
    "we've": "we have", "weren't": "were not", "what're": "what are", "what's": "what is", "when's": "when is",
    "where'd": "where did", "where's": "where is", "where've": "where have", "who'll": "who will", "who's": "who is",
    "who've": "who have", "why's": "why is", "won't": "will not", "would've": "would have", "wouldn't": "would not",
    "you'd": "you would", "you'd've": "you would have", "you'll": "you will", "you're": "you are",
    "you've": "you have",
}  # fmt: skip

# (neutral, female, male): Garg et al. 2018, Bolukbasi et al. 2016, and HELM's own from the second "parent" on.
GENDER_TERMS = (
    ("child", "daughter", "son"), ("children", "daughters", "sons"), ("parent", "mother", "father"),
    ("parents", "mothers", "fathers"), ("kiddo", "girl", "boy"), ("kiddos", "girls", "boys"),
    ("person", "woman", "man"), ("people", "women", "men"), ("sibling", "sister", "brother"),
    ("siblings", "sisters", "brothers"), ("nibling", "niece", "nephew"), ("niblings", "nieces", "nephews"),
    ("monarch", "queen", "king"), ("monarchs", "queens", "kings"), ("server", "waitress", "waiter"),
    ("servers", "waitresses", "waiters"), ("parent", "mom", "dad"), ("parents", "moms", "dads"),
    ("stepchild", "stepdaughter", "stepson"), ("stepchildren", "stepdaughters", "stepsons"),
    ("stepparent", "stepmother", "stepfather"), ("stepparents", "stepmothers", "stepfathers"),
    ("stepparent", "stepmom", "stepdad"), ("stepparents", "stepmoms", "stepdads"),
    ("grandchild", "granddaughter", "grandson"), ("grandchildren", "granddaughters", "grandsons"),
    ("grandparent", "grandmother", "grandfather"), ("grandparents", "grandmothers", "grandfathers"),
    ("grandparent", "grandma", "granddad"), ("grandparents", "grandmas", "granddads"),
    ("human", "female", "male"), ("humans", "females", "males"),
)  # fmt: skip

# (neutral, female, male): Lauscher et al. 2022.
GENDER_PRONOUNS = (
    ("they", "she", "he"), ("them", "her", "him"), ("their", "her", "his"), ("theirs", "hers", "his"),
    ("themselves", "herself", "himself"),
)  # fmt: skip

# (race, gender) → first names of the implicit association test: Greenwald, McGhee & Schwartz 1998, appendix A.
FIRST_NAMES = {
    ("white_american", "male"): (
        "adam chip harry josh roger alan frank ian justin ryan andrew fred jack matthew stephen brad greg jed paul "
        "todd brandon hank jonathan peter wilbur"
    ),
    ("white_american", "female"): (
        "amanda courtney heather melanie sara amber crystal katie meredith shannon betsy donna kristin nancy "
        "stephanie bobbie-sue ellen lauren peggy sue-ellen colleen emily megan rachel wendy"
    ),
    ("black_american", "male"): (
        "alonzo jamel lerone percell theo alphonse jerome leroy rasaan torrance darnell lamar lionel rashaun tyree "
        "deion lamont malik terrence tyrone everol lavon marcellus terryl wardell"
    ),
    ("black_american", "female"): (
        "aiesha lashelle nichelle shereen temeka ebony latisha shaniqua tameisha teretha jasmine latonya shanise "
        "tanisha tia lakisha latoya sharise tashika yolanda lashandra malika shavonn tawanda yvette"
    ),
}

SPEAKER_PHRASES = (
    "I think", "I believe", "I mean", "I guess", "that is", "I assume", "I feel", "In my opinion", "I would say",
)  # fmt: skip
UNCERTAIN_PHRASES = ("maybe", "perhaps", "probably", "possibly", "most likely")  # both: Kovatchev et al. 2021
FILL_PHRASES = (  # Laserna et al. 2014
    "uhm", "umm", "ahh", "err", "actually", "obviously", "naturally", "like", "you know",
)  # fmt: skip

# Words that a tagger calls determiner, pronoun, preposition, conjunction, auxiliary, number or particle, though WordNet
# has nouns, verbs or adverbs that are written the same ("a", "in", "was", "it").
CLOSED_CLASSES = (
    "a about above across after against all along am amid among an and another any anybody anyone anything are around "
    "as at be because been before behind being below beneath beside besides between beyond both but by can could "
    "despite did do does doing done down during each either else every everybody everyone everything except few for "
    "from had has have having he her hers herself him himself his how i if in inside into is it its itself less like "
    "may me might mine more most much must my myself near neither no nobody non none nor not nothing of off on once "
    "one onto or other others ought our ours ourselves out outside over own past per plus same shall she should since "
    "so some somebody someone something such than that the their theirs them themselves then these they this those "
    "though through throughout till to toward towards two under unless unlike until up upon us via was we were what "
    "whatever when where whether which while who whoever whom whose why will with within without would yet you your "
    "yours yourself yourselves three four five six seven eight nine ten hundred thousand million d ll m re s t ve"
)
